"""Spectra for other programs: tidy tables in files, and runs in experiment trackers.

    sources -> tidy_rows, eigenvalue_rows -> text_files (CSV, JSON), parquet_file
            -> tracked_runs -> tensorboard_folder, mlflow_store, wandb_folder

Nothing here needs torch; what a target needs is loaded when it is asked for.
"""
