from __future__ import annotations

import pytest

from agent.errors import InputError
from agent.registry.address import file_path, parse_address


def test_credentials_are_hidden_in_messages_and_kept_for_requests() -> None:
    address = parse_address("https://robot:s3cret@models.example:8443/lab/")
    assert "s3cret" not in address.shown
    assert address.join("blobs/a b") == "https://robot:s3cret@models.example:8443/lab/blobs/a%20b"


def test_a_folder_with_blanks_and_percent_signs_is_found() -> None:
    address = parse_address("file:///srv/my%20models/")
    assert address.is_file
    assert file_path(address.join("metadata/1.root.json")) == "/srv/my models/metadata/1.root.json"


@pytest.mark.parametrize(
    "url",
    ["", "models.example", "ftp://x/y", "http://", "https://x/?q=1", "file://other/x", "http://x:port/", "file:x"],
)
def test_what_is_no_registry_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"registry\.url"):
        parse_address(url)


def test_a_refused_address_keeps_its_secret() -> None:
    with pytest.raises(InputError) as caught:
        parse_address("ftp://robot:s3cret@x/y")
    assert "s3cret" not in caught.value.message
