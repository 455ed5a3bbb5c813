"""What the docs tell a reader to write, for the tests to run."""

import re

from .conftest import ROOT


def settings_of_gunicorn(folder, words):
    """Write the block of docs/deployment.md that has these words to a file.

    What the tests need of gunicorn's settings is added.
    """
    text = (ROOT / "docs" / "deployment.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if words in block]
    path = folder / "documented_settings.py"
    path.write_text(f"{block}\n\nfrom gunicorn_settings import post_worker_init\n")
    return path
