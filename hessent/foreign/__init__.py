"""What strangers may have made, opened so that it can do no harm: HDF5 files and JSON texts."""
