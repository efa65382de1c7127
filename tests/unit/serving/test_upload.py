"""A form, however it is cut into pieces."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.helpers.serving import SMALL

from veriscope.errors import DecodeError
from veriscope.serving.errors import ApiError
from veriscope.serving.sniff import file_error, no_picture, sniff
from veriscope.serving.upload import Form

LIMITS = replace(SMALL, max_file_bytes=40, max_video_bytes=90, max_files=3)
CLIP = b"\0\0\0\x18ftypisom"


def body_of(contents: list[bytes]) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\n'
    return b"".join(head + content + b"\r\n" for content in contents) + b"--b--\r\n"


@given(
    st.lists(
        st.one_of(st.binary(max_size=100), st.binary(max_size=100).map(CLIP.__add__)), min_size=1, max_size=3
    ).filter(lambda contents: not any(b"\r\n--b" in content + b"\r\n" for content in contents)),
    st.lists(st.integers(1, 400), max_size=12),
)
def test_files_are_kept_or_not_wherever_the_body_is_cut(contents: list[bytes], cuts: list[int]) -> None:
    body = body_of(contents)
    form = Form(b"b", limits=LIMITS, videos=True)
    ends = sorted({min(cut, len(body)) for cut in cuts} | {len(body)})
    held = 0
    for start, end in zip([0, *ends], ends, strict=False):
        held += form.write(body[start:end])
        assert held == form.kept_bytes
    expected = [
        content if len(content) <= (90 if sniff(content)[0] == "video" else 40) else None for content in contents
    ]
    assert [upload.data for upload in form.close()] == expected
    assert held == sum(len(content) for content in expected if content is not None)


@given(st.binary(max_size=300))
def test_what_is_no_form_is_refused_or_has_no_file(body: bytes) -> None:
    form = Form(b"b", limits=LIMITS)
    with pytest.raises(ApiError) as refused:  # noqa: PT012 - either may refuse it
        form.write(body)
        form.close()
    assert refused.value.status == 400


def test_what_a_file_is_not_is_said_with_what_would_do() -> None:
    for content, what in ((b"hello", "something else"), (b"%PDF-1.7", "a PDF document"), (b"", "an empty file")):
        error = no_picture(content)
        assert error is not None
        assert error.message.startswith(f"This is no picture that the server reads: it is {what}. It reads JPEG, PNG, ")
    error = no_picture(b"hello", videos=True)
    assert error is not None
    assert error.message.startswith("This is no file that the server reads: it is something else. It reads JPEG, PNG, ")
    assert error.message.endswith(" and videos.")
    assert file_error(DecodeError("a.jpg", "truncated")).message.endswith("cut off; fetch or copy it again.")
    assert file_error(DecodeError("a.jpg", "damaged: bad marker")).message.endswith("damaged: bad marker.")
