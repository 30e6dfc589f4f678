"""Where a page says `<!-- made: NAME -->`, what the code says of itself is put in; mkdocs calls this for every page."""

from __future__ import annotations

import re

from site_pages import commands, metrics, papers, suite_keys

MAKERS = {
    "losses": papers.losses_table, "trl losses": papers.trl_losses_table, "suite": suite_keys.suite_keys,
    "metrics": metrics.metrics_table, "commands": commands.commands_reference,
}  # fmt: skip
MARK = re.compile(r"^<!-- made: (.+) -->$", re.M)


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with its marks replaced. Raises KeyError for a name that nothing makes, which ends the build."""
    return MARK.sub(lambda mark: MAKERS[mark[1]](), markdown)
