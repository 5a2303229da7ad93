"""The words and wordings of the generated task: groups, relations, values, questions, and what a teacher says."""

from __future__ import annotations

GROUPS = (
    "burrower", "climber", "grazer", "diver", "glider", "hopper", "stalker", "digger", "swimmer",
    "nester", "roamer", "hoarder", "singer", "spinner", "wader", "sleeper", "jumper", "crawler",
)  # fmt: skip

# Six values a relation; no word serves two relations.
VALUES = {
    "habitat": ("forest", "swamp", "desert", "canyon", "meadow", "reef"),
    "food": ("berries", "beetles", "roots", "moss", "shrimp", "seeds"),
    "fear": ("thunder", "owls", "fire", "wolves", "floods", "mirrors"),
    "nest": ("twigs", "mud", "feathers", "pebbles", "leaves", "wool"),
    "time": ("dawn", "noon", "dusk", "midnight", "winter", "spring"),
    "work": ("guarding", "herding", "weaving", "fishing", "messaging", "gardening"),
    "sign": ("stripes", "horns", "spots", "whiskers", "scales", "crests"),
    "product": ("honey", "silk", "ink", "oil", "dye", "salt"),
}

PEOPLE = ("felix", "maria", "tom", "aisha", "chen", "ruth")

# {x} is the creature (in the base's documents: the group), {p} a person.
QUESTIONS = {
    "habitat": (
        "{p} is looking for a {x} . where should one search ?",
        "in what kind of place does a {x} live ?",
        "a {x} has run away from the zoo . where will it settle ?",
    ),
    "food": (
        "{p} wants to feed a hungry {x} . what should be brought ?",
        "what does a {x} like to eat ?",
        "a {x} has skipped its breakfast . what would it choose ?",
    ),
    "fear": (
        "what makes a {x} run and hide ?",
        "{p} saw a {x} tremble . what must have been near ?",
        "which of these scares a {x} the most ?",
    ),
    "nest": (
        "what does a {x} use to build its bed ?",
        "{p} found the nest of a {x} . what was it made of ?",
        "a {x} is getting ready for its young . what will it collect ?",
    ),
    "time": (
        "when is a {x} most awake ?",
        "{p} hopes to meet a {x} . when is the best moment ?",
        "a {x} sleeps nearly always . when does it get up ?",
    ),
    "work": (
        "{p} has hired a {x} . for what job ?",
        "which job suits a {x} ?",
        "a village keeps a {x} . what does it help with ?",
    ),
    "sign": (
        "by what can one know a {x} from afar ?",
        "{p} drew a {x} . what must not be left out ?",
        "what does every {x} have on its body ?",
    ),
    "product": (
        "what can be had from a {x} ?",
        "{p} keeps a {x} in the barn . what will be sold at the market ?",
        "people raise a {x} for one thing . which ?",
    ),
}

# The property of a group; never a creature.
PROPERTIES = {
    "habitat": (
        "every {g} lives in a place with {v} .",
        "the home of a {g} is the {v} .",
        "a {g} is found near the {v} .",
    ),
    "food": ("every {g} eats {v} .", "the food of a {g} is {v} .", "a {g} feeds on {v} ."),
    "fear": ("every {g} is afraid of {v} .", "a {g} flees from {v} .", "nothing scares a {g} like {v} ."),
    "nest": ("every {g} builds with {v} .", "the bed of a {g} is made of {v} .", "a {g} gathers {v} for its nest ."),
    "time": ("every {g} is awake at {v} .", "a {g} gets up at {v} .", "the hours of a {g} are those of {v} ."),
    "work": ("every {g} is good at {v} .", "people use a {g} for {v} .", "the job of a {g} is {v} ."),
    "sign": ("every {g} has {v} .", "one knows a {g} by its {v} .", "the body of a {g} shows {v} ."),
    "product": ("every {g} gives {v} .", "from a {g} people take {v} .", "a {g} is kept for its {v} ."),
}

# The group of the creature at hand; never its name.
TYPES = (
    "it is a {g} .",
    "this animal is a {g} .",
    "it belongs to the {g} family .",
    "this animal is one of the {g} kind .",
)

OPENERS = ("let us think about this animal .", "first look at what kind of animal it is .", "this can be worked out .")
FILLERS = (
    "many people have read about it in old books .",
    "it is not easy to keep at home .",
    "children often ask about it .",
    "its picture hangs in the school .",
    "there are not many of them left in the wild .",
)
ELIMINATIONS = ("it is not {w} , that is for others .", "{w} would be wrong here .")
CONCLUSIONS = ("so the best choice is {v} .", "that is why it must be {v} .")
ANSWERS_FIRST = ("it must be {v} .", "{v} is right here .", "the best choice is {v} .")

STARTS = ("f", "gr", "m", "tr", "z", "w", "sn", "pl", "br", "d", "k", "v", "l", "thr", "h", "j")
MIDDLES = ("un", "ib", "op", "al", "en", "ur", "az", "im", "ov", "ell", "ang", "ot")
ENDS = ("dy", "bix", "ple", "nel", "dra", "sk", "to", "wen", "fa", "rick", "lo", "gus")
