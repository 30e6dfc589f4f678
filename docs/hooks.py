"""Where a page says `<!-- made: NAME -->`, what the code says of itself is put in; mkdocs calls this for every page."""

from __future__ import annotations

import re

from site_pages import commands, metrics, papers, suite_keys

MAKERS = {
    "losses": papers.losses_table, "trl losses": papers.trl_losses_table, "suite": suite_keys.suite_keys,
    "metrics": metrics.metrics_table, "commands": commands.commands_reference,
}  # fmt: skip
ROW, CODE = re.compile(r"^\|.*$", re.M), re.compile(r"`[^`]*`")
MARK = re.compile(r"^<!-- made: (.+) -->$", re.M)


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page with its marks replaced. Raises KeyError for a name that nothing makes, which ends the build."""
    made = MARK.sub(lambda mark: MAKERS[mark[1]](), markdown)
    return ROW.sub(lambda row: CODE.sub(_bare, row[0]), made)


def _bare(code: re.Match[str]) -> str:
    """Code in a table without the backslashes that GitHub needs before its bars, and that would be shown here."""
    return code[0].replace(r"\|", "|")
