"""Credentials never reach a log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.redact import redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://admin:s3cret@10.0.0.5:554/ch0", "rtsp://***@10.0.0.5:554/ch0"),
        ("cannot open 'http://u:p@cam/video'; bye", "cannot open 'http://***@cam/video'; bye"),
        ("rtsp://user:p%40ss%2Fword@cam/1", "rtsp://***@cam/1"),
        ("rtsp://user:p@ss/w:rd@cam/1", "rtsp://***@cam/1"),
        ("rtsp://user:p?ss#word@cam/1", "rtsp://***@cam/1"),
        ("rtsp://user@cam/1", "rtsp://***@cam/1"),
        ("mqtts://pi:secret@collector.example:8883", "mqtts://***@collector.example:8883"),
        ("http://cam/video?token=abc&size=1", "http://cam/video?token=***&size=1"),
        ("http://cam/video?size=1&password=a%20b", "http://cam/video?size=1&password=***"),
        ("http://cam/video?KEY=abc", "http://cam/video?KEY=***"),
        ("http://cam/v.cgi?loginuse=admin&loginpas=x#t", "http://cam/v.cgi?loginuse=***&loginpas=***#t"),
        ("two: rtsp://a:b@c/ and http://d:e@f/", "two: rtsp://***@c/ and http://***@f/"),
        ("url=rtsp%3A%2F%2Fadmin%3As3cret%40cam%2F1", "url=rtsp%3A%2F%2F***%40cam%2F1"),
        ("rtsp://cam:554/plain", "rtsp://cam:554/plain"),
        ("mail someone@example.com about it", "mail someone@example.com about it"),
        ("http://cam/monkey=1?keyboard=2", "http://cam/monkey=1?keyboard=2"),
        ("", ""),
        ("rtspsrc user-id=me user-pw=s3cret ! fakesink", "rtspsrc user-id=me user-pw=*** ! fakesink"),
        ('rtspsrc user-pw="a \\" b" proxy-pw=x', "rtspsrc user-pw=*** proxy-pw=***"),
        ("rtspsrc 'user-pw=a' user-pw='a b'!", "rtspsrc 'user-pw=***' user-pw=***!"),
        ('rtspsrc user-pw="never closed', "rtspsrc user-pw=***"),
        ("my-password=open my_password=open", "my-password=open my_password=open"),
    ],
)
def test_credentials_are_replaced_and_nothing_else(text, expected):
    assert redact(text) == expected


SECRET = st.text("abcXYZ0189!$&*+,;=~^|()[]{}%-_.:@/?#", min_size=8, max_size=20).map(lambda text: f"Q{text}Q")


@given(SECRET, st.sampled_from(["rtsp", "http", "https", "mqtt"]))
def test_no_password_before_a_host_survives(secret, scheme):
    assert secret not in redact(f"error: {scheme}://user:{secret}@camera.example/live failed")


@given(st.text())
def test_any_text_can_be_redacted_twice_with_the_same_result(text):
    assert redact(redact(text)) == redact(text)
