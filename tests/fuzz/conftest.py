"""What all fuzz tests share: one reading process for a session, and how many cases of a kind are looked at."""

import pytest
from reading_law import Reader, keep_the_law


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    found = Reader(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.close()


@pytest.fixture(params=[pytest.param(False, id="some"), pytest.param(True, id="many", marks=pytest.mark.slow)])
def hold(request, reader):
    """Hold some cases of a kind against the law, in the slow suite eight times as many; return the exit codes."""

    def all_cases(cases, number):
        return keep_the_law(reader, cases, 8 * number if request.param else number)

    return all_cases
