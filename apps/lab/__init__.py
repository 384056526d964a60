'''What every experiment shares: settings, run folder, stages, jobs, report page, figures, terminal tables.

A new experiment in a dozen lines, here `apps/tea.py`. Its run is `runs/tea/NAME`, resumes when it was stopped, and
refuses other settings; `uv run apps/tea.py --help` shows all of them.

    class TeaSettings(RunSettings):
        """Is tea better than coffee?"""

        SMOKE: ClassVar[Mapping[str, Any]] = {"cups": 2}

        cups: int = 100
        """Cups to drink."""


    def main() -> None:
        settings, run = start("tea", TeaSettings)
        from experiments.drinking.tasting import taste  # here, so that --help need not wait for PyTorch

        folder = run.stage(Stage.TASTE, lambda folder: taste(settings, folder))
        joy = json.loads((folder / "joy.json").read_text(encoding="utf-8"))
        table = Table(("drink", "joy"), tuple((drink, f"{value:.1f}") for drink, value in joy.items()))
        sections = [Section("Joy", tables=(table,))]
        report = Report("Is tea better?", [f"Tea gives {joy['tea']:.1f} joys."], [table], sections)
        conclude(run, {"joy": joy}, report, shown=[table])

- `settings`: `RunSettings`, or `EncoderSettings` for those who embed texts (`encoder.open_encoder`).
- `run`: `RunDirectory.stage` computes a stage once. Whatever a stage gives is read back from its folder, never kept
  from the computation, so that a resumed run sees the same. `work_folder` is for what a killed stage goes on from.
- `engine`: `open_engine` gives what plays episodes and maps functions, for settings that are `EngineSettings`.
- `jobs`: `Workers.stage` spreads a stage over an engine's workers, each job going on with its own file.
- `report`, `figures`, `terminal`: the page, `@in_style` for functions that draw, and tables in the terminal.
- `main`: `start` and `conclude`, the first and the last line of an experiment.

What one experiment needs stands in `experiments/NAME/`, the names of its stages in one enum, `stages.py`. Functions
that compute stages are called `..._stage`, or `..._stages` if there are several.
'''
