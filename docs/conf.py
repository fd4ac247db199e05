"""Sphinx configuration."""

project = "ParaCell"
author = "The ParaCell authors"
copyright = "2026, The ParaCell authors"  # noqa: A001 -- Sphinx's name for it
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = "ParaCell"
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}
suppress_warnings = ["ref.python"]  # two rooms may each have a Memory: types in signatures then point to neither
default_role = "code"
napoleon_use_ivar = True  # attributes are listed once, in the docstring
nb_execution_mode = "off"  # `make notebooks` stores what they show, and the tests compare
