from pathlib import Path
def write_report(run, problems):
    return run.folder/"report.html"
