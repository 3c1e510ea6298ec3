"""One self-contained page of runs: tables, pictures, provenance; `document` is where it is put together."""
