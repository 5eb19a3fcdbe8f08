"""Build the API pages from the docstrings into build/docs; run by `make docs`. A module that does not import is an error."""

import pkgutil
import warnings
from pathlib import Path

import pdoc
import pdoc.render

import lit_inpaint

lit_inpaint.load = lit_inpaint.load  # pdoc does not find names that a module's __getattr__ imports
modules = ["lit_inpaint", *(module.name for module in pkgutil.walk_packages(lit_inpaint.__path__, "lit_inpaint."))]
warnings.filterwarnings("error", "Couldn't import|Error importing|Found")
warnings.filterwarnings("ignore", "The module specification")  # pdoc adds modules by itself too
warnings.filterwarnings("ignore", "Error parsing type annotation")  # of imports that only the type checker reads
pdoc.render.configure(docformat="google", template_directory=Path(__file__).parent)
pdoc.pdoc(*modules, output_directory=Path("build/docs"))
print(f"build/docs/index.html: {len(modules)} modules")
