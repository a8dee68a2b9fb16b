"""Credentials are hidden at the edge where a text comes in."""

import pytest

from agent.redact import redact


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:hunter2@cam.local/stream",
        "rtsp://hunter2@cam.local/stream",
        "http://cam.local/video?user=admin&password=hunter2",
        "rtsp://10.0.0.5:554/user=admin_password=hunter2_channel=1_stream=0.sdp",
        "could not open rtsp://admin:hunter2@cam.local/a: timed out",
    ],
)
def test_a_cameras_password_is_never_shown(url: str) -> None:
    assert "hunter2" not in redact(url)
    assert "cam.local" in redact(url) or "10.0.0.5" in redact(url)


def test_a_text_without_credentials_is_left_as_it_is() -> None:
    assert redact("opening rtsp://cam.local/stream, x=1") == "opening rtsp://cam.local/stream, x=1"
