"""The analyses, one file each: what is asked, what it costs, what its tables hold. Importing this package registers all
of them; the files in ORDER come first, so that `inspect --help` begins with what people look for.
"""

import importlib
import pkgutil

from cotdistill.studies.analysis import ANALYSES, CONFIGS

ORDER = ("attribute", "influence", "probe", "attention", "faithfulness", "paraphrases", "modes", "scorers")

for _name in dict.fromkeys((*ORDER, *(module.name for module in pkgutil.iter_modules(__path__)))):
    importlib.import_module(f"{__name__}.{_name}")

__all__ = ["ANALYSES", "CONFIGS"]
