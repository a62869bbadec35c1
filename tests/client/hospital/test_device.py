"""A device that a site cannot compute on is refused in words."""

from __future__ import annotations

import pytest
import torch

from normfed_client.hospital.device import choose_device
from normfed_common.foundation.errors import DatasetError


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "auto\n"])
def test_a_device_that_is_none_is_one_sentence(name: str) -> None:
    with pytest.raises(DatasetError, match=r"not known\. Known: auto, cpu, cuda"):
        choose_device(name)


def test_a_card_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(DatasetError, match="no usable CUDA device"):
            choose_device("cuda:0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DatasetError, match="cuda:2: this machine has 2"):
        choose_device("cuda:2")
