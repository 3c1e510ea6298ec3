"""Rules on measures, decided by intervals: the gate behind `hessent check`.

    policy_file, typed_rules -> policy -> rules --+
    spectrum_files -> judged_spectrum -> changes --+-> judgement -> table, document, JUnit, GitHub, GitLab
    baseline_file ---------------------------------+

Nothing here needs torch, and a run that is read from JSON needs neither HDF5 nor NumPy: a gate starts in a moment.
"""
