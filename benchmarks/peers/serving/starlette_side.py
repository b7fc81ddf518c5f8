"""A practical upper bound: Starlette on uvicorn, with inference on the event loop. `uvicorn starlette_side:app`"""

from answer import load_classifier
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

CLASSIFIER = load_classifier()


async def classify_image(request: Request) -> JSONResponse:
    return JSONResponse(CLASSIFIER.answer(await request.body()))


async def classify_form(request: Request) -> JSONResponse:
    async with request.form() as form:
        return JSONResponse(CLASSIFIER.answer(await form["image"].read()))


async def classify_text(request: Request) -> JSONResponse:
    return JSONResponse(CLASSIFIER.answer((await request.json())["text"]))


async def ready(request: Request) -> JSONResponse:
    return JSONResponse({})


ROUTES = {"/image": classify_image, "/form": classify_form, "/text": classify_text}
app = Starlette(
    routes=[
        Route("/ready", ready),
        *(Route(path, endpoint, methods=["POST"]) for path, endpoint in ROUTES.items()),
    ]
)
