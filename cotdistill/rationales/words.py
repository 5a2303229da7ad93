"""Function words: a cheap rival explanation of what makes a token matter."""

from __future__ import annotations

import re

# Closed-class English words (determiners, pronouns, prepositions, conjunctions, auxiliaries, particles).
FUNCTION_WORDS = frozenset(
    """a an the this that these those each every either neither some any no all both few many much more most other
    another such
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she her hers
    herself
    it its itself they them their theirs themselves one ones who whom whose which what whoever whatever whichever
    and or but nor so yet for because although though while if unless until since than as whether when whenever where
    wherever why how
    of in on at by to from with without within about above across after against along among around before behind
    below beneath
    beside besides between beyond down during except inside into like near off onto out outside over past per through
    throughout
    toward towards under up upon via
    am is are was were be been being do does did doing done have has had having will would shall should can could may
    might must ought
    not n't 's 're 've 'll 'd 'm t s there here then thus therefore hence however also too very just only even still
    already again ever never
    yes no else rather quite almost""".split()
)


def is_function_word(text: str) -> bool:
    """Whether a word carries grammar rather than content; punctuation counts as function, so the two classes share out
    a text.
    """
    word = text.strip().casefold()
    return word in FUNCTION_WORDS or not re.search(r"\w", word)
