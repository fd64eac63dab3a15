"""The site: ``python -m sphinx -W docs docs/_build`` (needs the extra "docs")."""

import inspect
import os
import warnings

from sphinx.ext.autodoc.mock import undecorate

import rcf

os.environ["MPLBACKEND"] = "agg"

project = "rcf"
author = "The rcf developers"
copyright = author
release = version = rcf.__version__
language = "en"

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# The inventories of other projects are not fetched, so that the site builds without a network. So their names are not
# links.
intersphinx_mapping: dict[str, tuple[str, None]] = {}

autosummary_generate = True
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    # scikit-learn adds these, with links into its own site
    "exclude-members": "set_fit_request, set_partial_fit_request, set_score_request, set_predict_request",
}
# The pages of the integrations are built without their libraries.
autodoc_mock_imports = [
    "apache_beam",
    "boto3",
    "botocore",
    "confluent_kafka",
    "duckdb",
    "mlflow",
    "orjson",
    "prometheus_client",
    "pyod",
    "pysad",
    "pyspark",
    "redis",
    "river",
    "starlette",
    "uvicorn",
]
autodoc_typehints = "none"  # numpydoc's sections have the types
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False

html_theme = "pydata_sphinx_theme"
html_title = "rcf"
html_static_path = ["_static"]
html_css_files = ["rcf.css"]
html_theme_options = {
    "navbar_align": "left",
    "show_prev_next": False,
    "secondary_sidebar_items": ["page-toc"],
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "tango",
}
html_show_sourcelink = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": ["examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "show_memory": False,
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "min_reported_time": 10,
    "capture_repr": ("_repr_html_",),  # the return values of matplotlib are not shown
    "reset_modules": ("matplotlib",),
    "matplotlib_animations": True,
}
suppress_warnings = ["config.cache"]  # sphinx-gallery's settings hold a class
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")


def setup(app):
    """Show the parameters of classes whose base class is mocked, because the `__new__` of the mock hides them."""

    def signature_of(app, what, name, obj, options, signature, return_annotation):
        if what == "class" and signature == "(*args, **kwargs)" and "__init__" in vars(obj):
            parameters = list(inspect.signature(undecorate(obj.__init__)).parameters.values())[1:]
            bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
            return str(inspect.Signature(bare)), return_annotation
        return None

    app.connect("autodoc-process-signature", signature_of)
