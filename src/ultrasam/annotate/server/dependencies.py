"""What routes get from the request and the app."""

from __future__ import annotations

from typing import Annotated

from ultrasam.extras import needs

with needs("The annotator", extra="annotate"):
    from fastapi import Depends, Path, Request

from ultrasam.annotate.annotator import Annotator
from ultrasam.annotate.server.security import Access


def annotator_of(request: Request) -> Annotator:
    """The app's annotator."""
    found: Annotator = request.app.state.annotator
    return found


def access_of(request: Request) -> Access:
    """The app's rules of access."""
    found: Access = request.app.state.access
    return found


def reader_of(request: Request) -> str:
    """Who asks; the guard has checked it."""
    found: str = request.state.reader
    return found


App = Annotated[Annotator, Depends(annotator_of)]
Rules = Annotated[Access, Depends(access_of)]
Reader = Annotated[str, Depends(reader_of)]
ImageId = Annotated[int, Path(ge=1, le=2**53, description="An image's number.")]
Frame = Annotated[int, Path(ge=0, le=1_000_000, description="A frame, from 0.")]
