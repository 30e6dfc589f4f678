"""One self-contained HTML file a run."""
from pathlib import Path
def write_report(summary, store, folder: Path) -> Path:
    return folder / "report.html"
