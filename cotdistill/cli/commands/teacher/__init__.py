"""teacher: ask one for rationales, filter them, know what they are like."""

from __future__ import annotations

from cotdistill.cli.command import Command, Noun
from cotdistill.cli.commands.teacher import elicit, rationales

NOUN = Noun(
    "teacher",
    "ask a teacher for rationales; what they are like, which ones are kept",
    (
        Command(
            "teacher",
            "elicit",
            "ask a teacher for rationales: a local model, or a server that speaks OpenAI's chat protocol",
            elicit.elicit,
            {
                **elicit.JOB_KEYS,
                "estimate": (
                    "requests, cached, tokens_in, tokens_out, cost and seconds (low and high; seconds null before"
                    " anything is known), basis"
                ),
                "prompt": "the first question as it is asked",
                "prompt[].role": "system, user or assistant",
                "prompt[].content": "text",
                "against": "what is held against it under contrastive decoding, or null",
                "result": elicit.RESULT,
            },
            elicit.elicit_arguments,
            notes=(
                "A server's address and key come from the environment alone: COTDISTILL_TEACHER_URL and"
                " COTDISTILL_TEACHER_KEY, or OPENAI_BASE_URL and OPENAI_API_KEY. They are never kept, logged or shown."
                " Every answer is kept as it comes; no request is sent twice, whoever asks."
            ),
        ),
        Command(
            "teacher",
            "resume",
            "let an elicitation go on where it was left, or ask again for what got no answer",
            elicit.resume,
            {
                **elicit.JOB_KEYS,
                "asked_again": "whether it is a new job for what got no answer",
                "result": elicit.RESULT,
            },
            elicit.resume_arguments,
        ),
        Command(
            "teacher",
            "progress",
            "how far an elicitation is: counts, what got no answer and why, the latest answers",
            elicit.progress,
            {
                **elicit.JOB_KEYS,
                "asked": "requests",
                "answered": "answers so far",
                "failed": "requests without an answer",
                "tokens_in": "tokens read, as the server counts",
                "tokens_out": "tokens written",
                "progress": "latest values",
                "failures": "requests without an answer",
                "failures[].id": "row",
                "failures[].sample": "number of the sample",
                "failures[].cause": "timeout, connection, busy, server, malformed, empty, request or unexpected",
                "failures[].detail": "what was said",
                "failures[].tries": "how often it was asked",
                "failures[].at": "unix time",
                "latest": "the latest answers",
                "latest[].id": "row",
                "latest[].sample": "number of the sample",
                "latest[].text": "answer",
                "latest[].finish": "why it ended",
                "error": "why the job failed, or null",
                "result": elicit.RESULT,
            },
            elicit.progress_arguments,
        ),
        Command(
            "teacher",
            "list",
            "every elicitation, newest first",
            elicit.list_,
            {
                **elicit.JOB_KEYS,
                "task": "task",
                "model": "model",
                "asked": "requests",
                "answered": "answers so far",
                "failed": "requests without an answer",
                "source": "full name of the source that was made, or null",
            },
            listed=True,
        ),
        Command(
            "teacher",
            "filters",
            "what may be asked of a rationale",
            rationales.filters,
            {"id": "name", "help": "one line", "parameters": "name, default, help, low, high and choices of each"},
            listed=True,
        ),
        Command(
            "teacher",
            "quality",
            "the rationales of every source in figures, side by side",
            rationales.show_quality,
            {
                "task": "task",
                "splits": "of which splits",
                "sources": (
                    "by source: rows, answers, rationales (answers that give a reason), left_out (why the others do"
                    " not, with numbers), covered, noted and noted_right (labels noted with them, and how many of"
                    " these are gold), known and agrees (the same for labels noted or stated for sure), agrees_all,"
                    " words, leak_text, leak_letter, overlap, recall, run, about_question, vocabulary, variety"
                    " (different words in a thousand), near_duplicates, cut_off, contradicts, label_alone, style (place"
                    " and thirds where the answer is first named), stated (how the text states it, and why not);"
                    " with --student also student (name, read, too_long, surprisal in nats per token, rank_surprisal,"
                    " naturalness, answer_overlap)"
                ),
            },
            rationales.quality_arguments,
        ),
        Command(
            "teacher",
            "filter",
            "count what filters would take away, and make what stays a source; nothing is deleted",
            rationales.filter_,
            {
                "task": "task",
                "of": "whose rationales",
                "answers": "how many there are",
                "kept": "how many stay",
                "questions": "for how many questions",
                "rationales": "rows of the source that hold a rationale",
                "left_out": "why the other rationales are in no row, with numbers",
                "filters": "one after the other",
                "filters[].filter": "canonical form",
                "filters[].seen": "rationales that it looked at",
                "filters[].dropped": "how many it took away",
                "filters[].alone": "how many it would take away by itself",
                "filters[].examples": "the first few that went",
                "filters[].examples[].id": "row",
                "filters[].examples[].text": "rationale",
                "filters[].examples[].reason": "why it went",
                "source": "full name of the source that was made, or null",
            },
            rationales.filter_arguments,
            notes=(
                "A source that is made this way is named by you and by a digest of its content, so the name means the"
                " same rationales for ever."
            ),
        ),
        Command(
            "teacher",
            "show",
            "the rationales of every source for one row, side by side",
            rationales.show,
            {
                "id": "row",
                "question": "question",
                "choices": "label and text of each",
                "answer": "gold label",
                "rationales": "by source",
                "rationales[].source": "whose",
                "rationales[].text": "rationale",
                "rationales[].label": "the teacher's own answer where it was noted",
                "rationales[].stated": "the answer that the text states, or null",
                "rationales[].how": "how it is stated, or why there is none",
                "rationales[].reason": "the text without that statement",
                "rationales[].contradicts": "whether it contradicts itself",
                "rationales[].words": "length in words",
                "rationales[].right": "whether the teacher's own answer is the gold label, or null",
                "rationales[].gold_text": "whether the text names the gold choice's text",
                "rationales[].answer_key": "whether the text names a choice's letter",
            },
            rationales.show_arguments,
        ),
        Command(
            "teacher",
            "export",
            "write the rationales of a source as JSON lines",
            rationales.export,
            {"task": "task", "source": "whose", "rows": "how many", "out": "file that was written"},
            rationales.export_arguments,
        ),
    ),
)
