"""The web app: an address for each thing that the page asks for. FastAPI is imported when the app is made."""

import asyncio
import functools
import mimetypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from shiftless.errors import BadInput
from shiftless.explore import parsing
from shiftless.explore.album import picture_bytes
from shiftless.explore.clicks import answer, from_memory, read_ahead
from shiftless.explore.explorer import Explorer, hexadecimal, label_state, match_state
from shiftless.explore.guard import Access, Guard
from shiftless.explore.labels import LabelAnswer, fit_labels, painted, uncertainty_png
from shiftless.explore.looks import Looked, look_at
from shiftless.explore.maskzip import read_masks, write_zip
from shiftless.explore.packing import MEDIA, pack
from shiftless.explore.partsearch import hit_state
from shiftless.explore.shifts import ShiftAnswer, measure_shift, shift_picture, shift_state
from shiftless.explore.worker import Job, Stale, Steps
from shiftless.image import Photo
from shiftless.view.segmentation import indexed_png_bytes

PAGE = Path(__file__).parent / "page"
CLIENT = "x-shiftless-client"
NUMBER = "x-shiftless-number"
_MOST_SIDE = 4096  # pixels along the longer side of a photo as it is sent
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml"}


class TooLarge(BadInput):
    """A request has more bytes than are allowed."""


def page_files() -> dict[str, tuple[bytes, str]]:
    """Return the files of the page by their names, with media types; nothing else of the disk is ever served.

    >>> {"index.html", "main.js", "style.css"} <= set(page_files())
    True
    """
    files = {}
    for path in sorted(PAGE.iterdir()):
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or MEDIA
        files[path.name] = path.read_bytes(), f"{kind}; charset=utf-8"
    return files


def create_app(explorer: Explorer, access: Access | None = None) -> Any:
    """Return the guarded ASGI app of an explorer.

    access  who is let in; by default loopback alone, without a token

    FastAPI and Starlette must be installed (the extra "app").
    """
    from fastapi import FastAPI, HTTPException, Request, Response
    from fastapi.concurrency import run_in_threadpool
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException as StarletteError

    app = FastAPI(title="shiftless explore", docs_url=None, redoc_url=None, openapi_url=None)
    album, readings, worker, limits = explorer.album, explorer.readings, explorer.worker, explorer.limits
    files = page_files()

    async def body(request: Request, most: int) -> bytes:
        """The request's body, refused as soon as it is known to be too large."""
        length = request.headers.get("content-length", "0")
        got, size = [], int(length) if length.isdecimal() else 0
        if size <= most:
            size = 0
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    break
                got.append(piece)
        if size > most:
            raise TooLarge(f"the request has over {most / 2**20:.3g} MB, which is the most; send less")
        return b"".join(got)

    def client(request: Request) -> str:
        return parsing.client_named(request.headers.get(CLIENT))

    def number(request: Request) -> int:
        return parsing.number_given(request.headers.get(NUMBER))

    async def document(request: Request) -> dict[str, Any]:
        return parsing.document(await body(request, limits.json_bytes))

    async def by_model(request: Request, lane: str, work: Callable[[Job], Steps]) -> Any:
        return await asyncio.wrap_future(worker.submit(client(request), lane, work, number(request)).future)

    @app.get("/")
    async def index() -> Response:
        content, kind = files["index.html"]
        return Response(content, media_type=kind)

    @app.get("/page/{name}")
    async def page(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        content, kind = files[name]
        return Response(content, media_type=kind)

    @app.get("/api/state")
    async def state() -> Response:
        return JSONResponse(explorer.state())

    @app.get("/api/progress")
    async def progress(request: Request) -> Response:
        jobs = [
            {"lane": lane, "done": step.done, "total": step.total, "doing": step.doing}
            for lane, step in worker.steps(client(request))
        ]
        return JSONResponse({"jobs": jobs})

    async def sent(number: int, side: int, open_it: Callable[[int], Photo]) -> Response:
        photo = await run_in_threadpool(open_it, number)
        content, kind = await run_in_threadpool(picture_bytes, photo, max(8, min(side, _MOST_SIDE)))
        h, w = photo.hw
        return Response(content, media_type=kind, headers={"x-photo-width": str(w), "x-photo-height": str(h)})

    @app.get("/api/photos/{number}/picture")
    async def picture(number: int, side: int = _MOST_SIDE) -> Response:
        return await sent(number, side, album.photo)

    @app.get("/api/search/{number}/picture")
    async def hit_picture(number: int, side: int = _MOST_SIDE) -> Response:
        return await sent(number, side, explorer.searched().photo)

    @app.post("/api/search")
    async def search(request: Request) -> Response:
        client(request)
        part = parsing.part_of(await document(request), limits)
        hits = await by_model(request, "search", functools.partial(explorer.searched().find, readings, part))
        return JSONResponse({"hits": [hit_state(hit) for hit in hits]})

    @app.post("/api/photos")
    async def upload(request: Request, name: str = "photo") -> Response:
        client(request)
        content = await body(request, limits.upload_bytes)
        number = await run_in_threadpool(album.add, name, content)
        return JSONResponse(explorer.photo_state(number))

    @app.post("/api/read")
    async def read(request: Request) -> Response:
        client(request)
        photos, columns = parsing.read_ahead_of(await document(request), limits)
        photos, failed = await run_in_threadpool(album.sort, photos)
        count = await by_model(request, "read", functools.partial(read_ahead, readings, photos, columns))
        return JSONResponse({"read": count, "failed": list(failed.values())})

    @app.post("/api/match")
    async def match(request: Request) -> Response:
        name = client(request)
        click = parsing.click_of(await document(request), limits)
        targets, failed = await run_in_threadpool(album.sort, click.targets)
        click = replace(click, targets=targets)
        matches = await run_in_threadpool(from_memory, readings, click)
        cached = matches is not None
        if matches is None:
            matches = await by_model(request, "match", functools.partial(answer, readings, click))
        else:
            worker.cancel(name, "match", number(request))
        about = {"matches": [match_state(one) for one in matches], "cached": cached, "failed": list(failed.values())}
        return Response(pack(about, [one.heat for one in matches]), media_type=MEDIA)

    @app.post("/api/look")
    async def look(request: Request) -> Response:
        client(request)
        parsed = parsing.look_of(await document(request), limits)
        photos, failed = await run_in_threadpool(album.sort, parsed.photos)
        parsed = replace(parsed, photos=photos)
        looked: list[Looked] = await by_model(request, "look", functools.partial(look_at, readings, parsed))
        about = {"photos": list(photos), "words": [one.words for one in looked], "failed": list(failed.values())}
        return Response(pack(about, [one.picture for one in looked]), media_type=MEDIA)

    @app.post("/api/audit")
    async def audit(request: Request) -> Response:
        name = client(request)
        parsed = parsing.shift_of(await document(request), limits)
        photos, failed = await run_in_threadpool(album.sort, parsed.photos)
        parsed = replace(parsed, photos=photos)
        shift: ShiftAnswer = await by_model(request, "audit", functools.partial(measure_shift, readings, parsed))
        explorer.sessions.of(name).shift = shift
        return JSONResponse({**shift_state(shift), "failed": list(failed.values())})

    @app.get("/api/audit/{number}/{kind}/{recipe}")
    async def shifted(request: Request, number: int, kind: str, recipe: int) -> Response:
        shift = explorer.sessions.of(client(request)).audited()
        png = await run_in_threadpool(shift_picture, shift, number, kind, recipe)
        return Response(png, media_type="image/png")

    @app.post("/api/label/fit")
    async def fit(request: Request) -> Response:
        name = client(request)
        labels = parsing.labels_of(await document(request), limits)
        session = explorer.sessions.of(name)
        fitted: LabelAnswer = await by_model(
            request, "label", functools.partial(fit_labels, readings, labels, session.bases)
        )
        session.answer = fitted
        return JSONResponse(label_state(fitted))

    @app.get("/api/label/mask/{number}")
    async def mask(request: Request, number: int) -> Response:
        fitted = explorer.sessions.of(client(request)).answered()
        if number not in fitted.photos:
            raise BadInput(f"the last fit did not segment photo {number}; press Fit")
        packed = fitted.photos[number].mask
        png = await run_in_threadpool(lambda: indexed_png_bytes(packed.mask(), fitted.classes.palette))
        return Response(png, media_type="image/png")

    @app.get("/api/label/uncertainty/{number}")
    async def uncertainty(request: Request, number: int) -> Response:
        fitted = explorer.sessions.of(client(request)).answered()
        if number not in fitted.photos:
            raise BadInput(f"the last fit did not segment photo {number}; press Fit")
        png = await run_in_threadpool(uncertainty_png, fitted.photos[number].uncertainty_map, fitted.end)
        return Response(png, media_type="image/png")

    @app.post("/api/label/painted/{number}")
    async def painted_mask(request: Request, number: int) -> Response:
        """The mask that the strokes of one photo make, as Fit takes it: what the page draws once a stroke ends."""
        bases = explorer.sessions.of(client(request)).bases
        labels = parsing.labels_of(await document(request), limits)
        own = {number: bases[number]} if number in bases else {}
        masks = await run_in_threadpool(painted, readings, labels, own)
        if number not in masks:
            return Response(status_code=204)
        png = await run_in_threadpool(lambda: indexed_png_bytes(masks[number], labels.classes.palette, clear=0))
        return Response(png, media_type="image/png")

    @app.post("/api/label/export")
    async def export(request: Request) -> Response:
        session = explorer.sessions.of(client(request))
        fields = await document(request)
        labels, form = parsing.labels_of(fields, limits), fields.get("format", "png")
        answered = session.answer
        same = answered is not None and answered.classes.names == labels.classes.names

        def packed() -> bytes:
            masks = {k: one.mask for k, one in answered.photos.items()} if answered is not None and same else {}
            labelled = painted(readings, labels, session.bases)
            if not masks and not labelled:
                raise BadInput("nothing is painted or fitted yet; paint strokes of two classes, and press Fit")
            return write_zip(album, labels.classes, masks, labelled, form)

        content = await run_in_threadpool(packed)
        name = 'attachment; filename="shiftless-masks.zip"'
        return Response(content, media_type="application/zip", headers={"content-disposition": name})

    @app.post("/api/label/import")
    async def take(request: Request) -> Response:
        session = explorer.sessions.of(client(request))
        taken = await run_in_threadpool(read_masks, album, await body(request, limits.zip_bytes))
        session.bases, session.answer = taken.masks, None
        about = {
            "classes": [
                {"name": name, "colour": hexadecimal(colour)}
                for name, colour in zip(taken.classes.names, taken.classes.palette)
            ],
            "photos": sorted(taken.masks),
            "ignored": list(taken.ignored[:20]),
        }
        return JSONResponse(about)

    def refuse(status: int, message: str) -> Response:
        return JSONResponse({"error": message}, status_code=status)

    @app.exception_handler(BadInput)
    async def bad(request: Request, error: BadInput) -> Response:
        return refuse(413 if isinstance(error, TooLarge) else 400, str(error))

    @app.exception_handler(Stale)
    async def stale(request: Request, error: Stale) -> Response:
        return Response(status_code=204, headers={"x-shiftless-stale": "yes"})

    @app.exception_handler(StarletteError)
    async def missing(request: Request, error: StarletteError) -> Response:
        return refuse(
            error.status_code, "there is nothing at this address" if error.status_code == 404 else error.detail
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return refuse(400, "the address holds a value that is no number")

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return refuse(500, f"the explorer failed ({type(error).__name__}); its terminal says more")

    return Guard(app, access or Access())
