import pytest

# What does not agree is told, as it is of the asserts in a test.
pytest.register_assert_rewrite(f"{__name__}.agreement", f"{__name__}.steps")
