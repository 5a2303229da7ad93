"""Training-signal alignment: does a training step on one rationale token also lower the loss of the label?

For a rationale token t of a training example, a(t) = <grad L_t, grad L_label>: L_t is the token's cross-entropy in the
training sequence, L_label the cross-entropy of the right answer among the choices, scored as the run scores them. It is
positive where a plain gradient step on t lowers L_label: to first order, a step of size lr changes it by -lr a(t). This
is what a rationale behind the label can do, since no prediction reads it.

L_label is taken on three pools (see `pools`): the example's own question; dev questions of the same cluster or with the
same answer text ("matched"); random dev questions that are neither ("random"). The value reported is matched minus
random: what the token does for its own kind of question beyond what it does for any. Test questions are never used.

Parameters: the transformer blocks. Embeddings, positions and the output matrix are left out by default: there every
token that equals a label aligns trivially. With "all" they count as well; inner products are exact in both cases, so no
random projection is needed.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy
from transformers import PreTrainedModel

from cotdistill.config import TrainingConfig
from cotdistill.errors import NotReadable, UnknownName
from cotdistill.rationales.placement import SEGMENTS, Placement
from cotdistill.rationales.words import is_function_word
from cotdistill.saliency.factored import Trace, layers_of
from cotdistill.saliency.pools import POOLS, Pools
from cotdistill.saliency.probe import QueryBatch, StudentQueries
from cotdistill.saliency.reading import EncodedExample, read_example
from cotdistill.saliency.targets import label_query
from cotdistill.students.batches import Row, collate
from cotdistill.students.loading import output_matrix
from cotdistill.students.tokens import NO_LOSS, RATIONALE, Encoded, Encoder
from cotdistill.students.training import batch_loss
from cotdistill.tasks.example import Example

PARAMETERS = ("blocks", "all")
# Gradients of single tokens held at once.
MEMORY_BYTES = 512 << 20
# AdamW's own constants, as in training.
BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
_RATIONALE = SEGMENTS.index("rationale")


@dataclass(frozen=True)
class Aligned:
    """The rationale tokens of one training example, each array (tokens,) in the order of the sequence.

    columns: places in the sequence; ids, origin as there; words: the text of each token's word, "" where nobody knows
    (a piece of a word from elsewhere); loss: cross-entropy in nats; norm: length of the token's gradient; raw, cosine,
    adam: by pool, (pools, tokens), NaN where a pool is empty. adam: <grad L_t, P grad L_label> with P = 1 / (sqrt(v) +
    eps), v the second moment of the gradients of real training batches at this checkpoint. label_text: whether the
    token's word is one of the right answer's own text.
    """

    id: str
    cluster: str
    columns: npt.NDArray[np.int64]
    ids: npt.NDArray[np.int64]
    origin: npt.NDArray[np.int64]
    words: tuple[str, ...]
    loss: npt.NDArray[np.float64]
    norm: npt.NDArray[np.float64]
    raw: npt.NDArray[np.float64]
    cosine: npt.NDArray[np.float64]
    adam: npt.NDArray[np.float64]
    label_text: npt.NDArray[np.bool_]
    matched: int

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """(tokens,) matched minus random."""
        difference: npt.NDArray[np.float64] = self.raw[1] - self.raw[2]
        return difference


class Aligner:
    """One student at one checkpoint, with the dev questions that its label loss is taken on."""

    def __init__(
        self,
        model: PreTrainedModel,
        encoder: Encoder,
        placement: Placement,
        dev: Sequence[Example],
        *,
        metric: str = "sum",
        parameters: str = "blocks",
        batches: Sequence[Sequence[Row]] = (),
        training: TrainingConfig | None = None,
        draw: str = "shared",
        memory: int = MEMORY_BYTES,
    ) -> None:
        """batches: real training batches, for the moments, with the training settings of the run; without both, the
        Adam values are NaN. draw: see `pools`. UsageError for test questions among the dev questions."""
        if parameters not in PARAMETERS:
            raise UnknownName("set of parameters", parameters, PARAMETERS)
        self.pools = Pools(dev, draw)
        self.model, self.encoder, self.placement, self.metric = model, encoder, placement, metric
        self.probe = StudentQueries(model, encoder.specials.pad)
        self.memory = memory
        # Of a student with adapters only these were trained, so only they can carry a signal.
        names = [name for name, _ in model.named_parameters() if ".lora_" in name] or [
            name for name, _ in model.named_parameters()
        ]
        self.names = [name for name in names if parameters == "all" or re.search(r"\.\d+\.", name)]
        table = dict(model.named_parameters())
        self.parameters = [table[name].requires_grad_(True) for name in self.names]
        self.size = sum(p.numel() for p in self.parameters)
        self.layers = layers_of(model, self.names)
        # A token's loss reads one state, and its gradient there is known: no backward pass needs to go through the
        # vocabulary again for each token.
        head = {id(p) for p in output_matrix(model).parameters()}
        self._reads_states = self.probe.reader.abilities.plain_head and not any(id(p) in head for p in self.parameters)
        self._cache: OrderedDict[tuple[str, ...], torch.Tensor] = OrderedDict()
        self.mean: torch.Tensor | None = None
        self.second: torch.Tensor | None = None
        if batches and training is not None:
            self.mean, self.second = self._moments(batches, training)

    def align(self, example: Example, sequence: Encoded) -> Aligned:
        """Every loss-bearing rationale token of a training sequence of the example. NotReadable if it has none."""
        columns = np.flatnonzero((sequence.segments == _RATIONALE) & (sequence.loss == RATIONALE))
        if not len(columns):
            raise NotReadable(
                f"Example {example.id!r} has no rationale token that is trained on under this condition.",
                "Choose a run with rationales.",
            )
        matched, other = self.pools.of(example)
        pools = [self.label_gradient([example])]
        pools += [
            self.label_gradient(pool) if pool else torch.full((self.size,), float("nan"))
            for pool in (matched, other if matched else [])
        ]
        target = torch.stack(pools)  # (pools, parameters)
        if self.second is not None:
            target = torch.cat([target, target / (self.second.sqrt() + EPS)])
        losses, products, norms = self.token_products(sequence, columns, target)
        inner, norm = products.double().numpy(), norms.double().numpy()
        raw = inner[: len(POOLS)]
        lengths = target[: len(POOLS)].norm(dim=1).double().numpy()
        with np.errstate(invalid="ignore", divide="ignore"):
            cosine = raw / (lengths[:, None] * norm[None])
        ids, origin = sequence.ids[columns].astype(np.int64), sequence.origin[columns].astype(np.int64)
        words = self._words(example, ids, origin)
        adam = inner[len(POOLS) :] if self.second is not None else np.full_like(raw, np.nan)
        return Aligned(
            example.id, example.cluster or example.id, columns.astype(np.int64), ids, origin, words,
            losses.double().numpy(), norm, raw, cosine, adam, self._of_label(example, ids, words), len(matched),
        )  # fmt: skip

    def label_gradient(self, examples: Sequence[Example]) -> torch.Tensor:
        """(parameters,) gradient of the mean label loss of some questions, on the CPU; the last few are kept."""
        key = tuple(example.id for example in examples)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        total = torch.zeros(self.size)
        for loss in self._label_losses(examples):
            total += _flat(torch.autograd.grad(loss.sum(), self.parameters)) / len(examples)
        self._cache[key] = total
        while len(self._cache) * self.size * 4 > self.memory and len(self._cache) > 4:
            self._cache.popitem(last=False)
        return total

    @torch.no_grad()
    def label_loss(self, examples: Sequence[Example]) -> float:
        """The mean label loss of some questions, as the student stands."""
        return float(sum(float(loss.sum()) for loss in self._label_losses(examples)) / len(examples))

    def _label_losses(self, examples: Sequence[Example]) -> Iterator[torch.Tensor]:
        """(batch,) cross-entropy of the right choice among all, from the scores that the run's metric gives; of written
        answers the negative log-likelihood of the gold, since there is nothing it stands among.
        """
        readings = [self._read(example) for example in examples]
        for batch in self.probe.batches([label_query(reading) for reading in readings]):
            embeds = self.model.get_input_embeddings()(batch.ids)
            scores = self._scores(embeds, batch, [readings[i] for i in batch.members])
            gold = torch.tensor([readings[i].gold for i in batch.members], device=scores.device)
            if any(readings[i].written for i in batch.members):
                yield -scores.gather(1, gold[:, None])[:, 0]
            else:
                yield cross_entropy(scores, gold, reduction="none")

    def _read(self, example: Example) -> EncodedExample:
        return read_example(
            self.encoder, example, self.placement, metric=self.metric, limit=self.probe.reader.positions
        )

    def _scores(self, embeds: torch.Tensor, batch: QueryBatch, readings: Sequence[EncodedExample]) -> torch.Tensor:
        sums = self.probe.sums(embeds, batch, batch.all())
        weights = torch.full(sums.shape, float("-inf"), device=sums.device)
        for row, reading in enumerate(readings):
            weights[row, : len(reading.weights)] = torch.tensor(reading.weights)
        missing = weights == float("-inf")
        return torch.where(missing, weights, sums * torch.where(missing, 0.0, weights))

    def token_products(
        self, sequence: Encoded, columns: npt.NDArray[np.int64], target: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(tokens,) losses, (targets, tokens) inner products of (targets, parameters) with the tokens' gradients, and
        (tokens,) lengths of these.
        """
        ids = self._ids(sequence)
        trace = (
            Trace(self.layers, lambda: self._states_before(ids, columns))
            if self.layers and self._reads_states
            else None
        )
        losses, products, norms = list[torch.Tensor](), list[torch.Tensor](), list[torch.Tensor]()
        if trace is not None and trace.plain:
            at_once = max(1, self.memory // (8 * trace.numbers))
            wanted = target.to(self.probe.device)
            for start in range(0, len(columns), at_once):
                part = torch.from_numpy(columns[start : start + at_once]).to(self.probe.device)
                read = trace.states[start : start + at_once]
                loss, at_states = _into_states(read.detach(), output_matrix(self.model), ids[0, part])
                inner, norm = trace.products(
                    read, _of_own_state(at_states), wanted, keep=start + at_once < len(columns)
                )
                for kept, one in ((losses, loss), (products, inner), (norms, norm)):
                    kept.append(one.cpu())
        else:
            for loss, gradients in self.token_gradients(sequence, columns):
                losses.append(loss)
                products.append(target @ gradients.T)
                norms.append(gradients.norm(dim=1))
        return torch.cat(losses), torch.cat(products, 1), torch.cat(norms)

    def _ids(self, sequence: Encoded) -> torch.Tensor:
        return torch.from_numpy(sequence.ids.astype(np.int64))[None].to(self.probe.device)

    def _states_before(self, ids: torch.Tensor, columns: npt.NDArray[np.int64]) -> torch.Tensor:
        """(tokens, hidden): what each token at these columns of the (1, seq) ids is read off."""
        at = torch.from_numpy(columns - 1).to(self.probe.device)
        return self.probe.reader.states_at(ids, torch.zeros_like(at), at)

    def token_gradients(
        self, sequence: Encoded, columns: npt.NDArray[np.int64]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(tokens,) losses and (tokens, parameters) gradients, as many tokens at once as the budget allows, all from
        one forward pass.
        """
        at_once = max(1, self.memory // (4 * self.size))
        ids = self._ids(sequence)
        head, known = output_matrix(self.model), self._reads_states
        states = self._states_before(ids, columns) if known else torch.empty(0)
        for start in range(0, len(columns), at_once):
            part = torch.from_numpy(columns[start : start + at_once]).to(self.probe.device)
            if known:
                read = states[start : start + at_once]
                losses, at_states = _into_states(read.detach(), head, ids[0, part])
                at_states = _of_own_state(at_states)
                outputs, last = read, start + at_once >= len(columns)
            else:
                logits = self.probe.reader.logits_at(ids, torch.zeros_like(part), part - 1)
                losses = cross_entropy(logits, ids[0, part], reduction="none")
                at_states, outputs, last = torch.eye(len(part), device=losses.device), losses, True
            yield losses.detach().cpu(), self._each(outputs, at_states, keep=not last)

    def _each(self, outputs: torch.Tensor, weights: torch.Tensor, *, keep: bool) -> torch.Tensor:
        """(tokens, parameters), on the CPU: each token's gradient of the outputs, weighted by its row alone. keep: the
        graph is needed again.
        """
        if self.probe.device.type != "cpu":
            gradients = torch.autograd.grad(
                outputs, self.parameters, grad_outputs=weights, is_grads_batched=True, retain_graph=keep
            )
            return torch.cat([g.reshape(len(weights), -1) for g in gradients], 1).float().cpu()
        # On a CPU one pass after another, which never holds a product of all tokens with all weights twice.
        rows = torch.empty(len(weights), self.size)
        for i, row in enumerate(rows):
            gradients = torch.autograd.grad(
                outputs, self.parameters, grad_outputs=weights[i], retain_graph=keep or i + 1 < len(rows)
            )
            torch.cat([g.reshape(-1) for g in gradients], out=row)
        return rows

    def _moments(self, batches: Sequence[Sequence[Row]], training: TrainingConfig) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and second moment of the gradients of training batches as AdamW sees them: divided as in training, and
        clipped by their length over all parameters. A plain mean is what AdamW's bias-corrected averages come to over a
        few batches."""
        every = [p.requires_grad_(True) for p in self.model.parameters()]
        own_parameters = {id(p) for p in self.parameters}
        first, second = torch.zeros(self.size), torch.zeros(self.size)
        for rows in batches:
            predicted = sum(int((row.groups != NO_LOSS).sum()) for row in rows)
            divisor = float(predicted if training.loss == "token_mean" else training.batch_size)
            loss, _ = batch_loss(self.probe.reader, collate(rows, self.encoder.specials.pad), divisor)
            gradients = torch.autograd.grad(loss, every, materialize_grads=True)
            length = float(torch.stack([g.norm() for g in gradients]).norm())
            kept = min(1.0, training.clip / (length + 1e-6)) if training.clip else 1.0
            gradient = kept * _flat([g for g, p in zip(gradients, every, strict=True) if id(p) in own_parameters])
            first += gradient / len(batches)
            second += gradient.square() / len(batches)
        for p in every:
            p.requires_grad_(id(p) in own_parameters)
        return first, second

    def _words(self, example: Example, ids: npt.NDArray[np.int64], origin: npt.NDArray[np.int64]) -> tuple[str, ...]:
        intact = self.encoder.read(example.rationale or "")
        elsewhere = self.encoder.piece if self.encoder.whole_words else lambda _: ""
        return tuple(
            intact[o].text if 0 <= o < len(intact) else elsewhere(int(id)).strip()
            for id, o in zip(ids, origin, strict=True)
        )

    def _of_label(self, example: Example, ids: npt.NDArray[np.int64], words: Sequence[str]) -> npt.NDArray[np.bool_]:
        """By word and case aside, so that "Wood" counts where the label is "burning wood", and "the" does not where it
        is "the sea"; a label of function words alone counts as it is. A token whose word nobody knows counts by its
        id."""
        label = self.encoder.target(self.encoder.template.target_texts(example)[example.gold])
        telling = [token for token in label if not is_function_word(token.text)] or list(label)
        texts, tokens = {token.text.casefold() for token in telling}, {token.id for token in telling}
        return np.array(
            [word.casefold() in texts if word else int(id) in tokens for word, id in zip(words, ids, strict=True)], bool
        )

    def adamw_step(
        self, example: Example, sequence: Encoded, columns: npt.NDArray[np.int64], lr: float
    ) -> npt.NDArray[np.float64]:
        """(tokens,) by how much more the example's own label loss really falls with one AdamW step on each token alone
        than with the step that the optimiser would take without it: its moments are those of the training batches, and
        they move the loss by themselves, by an amount that differs from question to question and is often larger than
        what any token does."""
        if self.mean is None or self.second is None:
            raise ValueError("adamw_step needs training batches")
        alone = self._loss_after(example, torch.zeros(self.size), lr)
        gradients = (self.token_gradients(sequence, np.array([column])) for column in columns)
        return np.array([alone - self._loss_after(example, gradient[0], lr) for ((_, gradient),) in gradients])

    def _loss_after(self, example: Example, gradient: torch.Tensor, lr: float) -> float:
        """The label loss after one AdamW step with a gradient (parameters,); the student is left as it was."""
        assert self.mean is not None and self.second is not None
        kept = [p.detach().clone() for p in self.parameters]
        optimiser = torch.optim.AdamW(self.parameters, lr=lr, betas=(BETA1, BETA2), eps=EPS, weight_decay=0.0)
        at = 0
        for p in self.parameters:
            cut = slice(at, at + p.numel())
            p.grad = gradient[cut].view_as(p).to(p)
            mean, second = self.mean[cut].view_as(p).to(p), self.second[cut].view_as(p).to(p)
            # So many steps in that the bias correction no longer matters.
            optimiser.state[p] = {"step": torch.tensor(10_000.0), "exp_avg": mean.clone(), "exp_avg_sq": second.clone()}
            at += p.numel()
        optimiser.step()
        loss = self.label_loss([example])
        with torch.no_grad():
            for p, old in zip(self.parameters, kept, strict=True):
                p.copy_(old)
                p.grad = None
        return loss


def _into_states(
    states: torch.Tensor, head: torch.nn.Module, tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(tokens,) the loss of each token after its (tokens, hidden) state, and its gradient in that state."""
    with torch.enable_grad():
        leaf = states.requires_grad_()
        losses = cross_entropy(head(leaf).float(), tokens, reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return losses.detach(), gradient


def _of_own_state(gradients: torch.Tensor) -> torch.Tensor:
    """(tokens, tokens, hidden): each token's gradient in its own state, and none in those of the others."""
    return torch.diag_embed(gradients.T).permute(1, 2, 0)


def _flat(gradients: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.cat([g.reshape(-1) for g in gradients]).float().cpu()


def align_all(
    aligner: Aligner, examples: Sequence[tuple[Example, Encoded]], report: Callable[[int, int], None] | None = None
) -> list[Aligned]:
    """Each example with a trained-on rationale, in order; report(done, total) counts them."""
    aligned = []
    for done, (example, sequence) in enumerate(examples):
        if report is not None:
            report(done, len(examples))
        if bool(((sequence.segments == _RATIONALE) & (sequence.loss == RATIONALE)).any()):
            aligned.append(aligner.align(example, sequence))
    if not aligned:
        raise NotReadable(
            "No rationale token of these examples is trained on under this condition.", "Choose a run with rationales."
        )
    return aligned
