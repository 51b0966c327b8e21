import pytest

from featscope.arrays.channels import parse_channels
from featscope.errors import BadOptionError


@pytest.mark.parametrize("text", ["", "top:", "top:0", "a", "-3", "1-", "sum:x", "3;4", "9" * 30])
def test_what_chooses_nothing(text):
    with pytest.raises(BadOptionError, match="is not a choice of channels"):
        parse_channels(text)
