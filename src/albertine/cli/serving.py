"""The verb serve: models behind HTTP."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast

import typer

import albertine
from albertine.cli import options
from albertine.cli.output import say
from albertine.serving.options import ServerOptions

__all__ = ["serve"]

_DEFAULT = ServerOptions()
_LIMITS = "Limits"
_ACCESS = "Access"


def serve(
    models: Annotated[
        list[str] | None, typer.Argument(help="Model folders and encoders; NAME=FOLDER chooses a name.")
    ] = None,
    indexes: Annotated[
        list[str] | None,
        typer.Option(
            "--index",
            help="An index folder, or NAME=FOLDER; with the name of an encoder that is served, it is searched there. "
            "Once for each.",
        ),
    ] = None,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for every one.")] = _DEFAULT.host,
    port: Annotated[int, typer.Option("--port", help="0 for any that is free.")] = _DEFAULT.port,
    precision: options.AnswerPrecisionOption = _DEFAULT.precision,
    depth: options.DepthOption = None,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", help="Estimated tokens of a micro-batch at most.")
    ] = _DEFAULT.batch_tokens,
    batch_wait_ms: Annotated[
        float, typer.Option("--batch-wait-ms", help="How long an idle model waits for company.")
    ] = _DEFAULT.batch_wait_ms,
    max_wait: Annotated[
        float,
        typer.Option(
            "--max-wait", help="Seconds that a request may be expected to wait; else 503.", rich_help_panel=_LIMITS
        ),
    ] = _DEFAULT.max_wait,
    max_queue: Annotated[
        int, typer.Option("--max-queue", help="Requests that wait for one model.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_queue,
    timeout: Annotated[
        float,
        typer.Option("--timeout", help="Seconds from a request to its answer; else 503.", rich_help_panel=_LIMITS),
    ] = _DEFAULT.timeout,
    max_body: Annotated[
        int, typer.Option("--max-body", help="Bytes of a request.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_body,
    max_stream: Annotated[
        int, typer.Option("--max-stream", help="Bytes of a stream (NDJSON).", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_stream,
    max_held: Annotated[
        int, typer.Option("--max-held", help="Bytes of all requests at a time.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_held,
    max_texts: Annotated[
        int, typer.Option("--max-texts", help="Texts of a request that is no stream.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_texts,
    max_characters: Annotated[
        int, typer.Option("--max-characters", help="Characters of a text.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_characters,
    max_requests: Annotated[
        int, typer.Option("--max-requests", help="Requests that are answered at a time.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_requests,
    max_streams: Annotated[
        int, typer.Option("--max-streams", help="Streams that are answered at a time.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.max_streams,
    header_timeout: Annotated[
        float, typer.Option("--header-timeout", help="Seconds for a request's headers.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.header_timeout,
    body_timeout: Annotated[
        float, typer.Option("--body-timeout", help="Seconds for a request's body.", rich_help_panel=_LIMITS)
    ] = _DEFAULT.body_timeout,
    write_timeout: Annotated[
        float,
        typer.Option("--write-timeout", help="Seconds that an answer may stay unread.", rich_help_panel=_LIMITS),
    ] = _DEFAULT.write_timeout,
    grace: Annotated[
        float,
        typer.Option("--grace", help="Seconds to finish requests after a signal to stop.", rich_help_panel=_LIMITS),
    ] = _DEFAULT.grace,
    requests_per_minute: Annotated[
        int,
        typer.Option(
            "--requests-per-minute", help="Of a key or a client's address; 0 for no limit.", rich_help_panel=_LIMITS
        ),
    ] = _DEFAULT.requests_per_minute,
    api_keys: Annotated[
        Path | None,
        typer.Option(
            "--api-keys",
            help="File with a key a line; ALBERTINE_API_KEYS adds more. Keys never stand on the command line, where "
            "everyone on the machine can read them.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    admin_keys: Annotated[
        Path | None,
        typer.Option(
            "--admin-keys",
            help="File with keys that may replace models; ALBERTINE_ADMIN_KEYS adds more.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    metrics_key: Annotated[
        bool, typer.Option("--metrics-key", help="Ask for a key at /metrics too.", rich_help_panel=_ACCESS)
    ] = False,
    allow_hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", help="A name in the Host header that is answered. Once for each.", rich_help_panel=_ACCESS
        ),
    ] = None,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            "--cors", help="Origin of web pages that may read answers. Once for each.", rich_help_panel=_ACCESS
        ),
    ] = None,
    proxies: Annotated[
        list[str] | None,
        typer.Option(
            "--proxy",
            help="Address of a proxy whose X-Forwarded-For is believed. Once for each.",
            rich_help_panel=_ACCESS,
        ),
    ] = None,
    log_texts: Annotated[
        bool, typer.Option("--log-texts", help="Write the texts of requests to the log.", rich_help_panel=_ACCESS)
    ] = False,
) -> None:
    """Answer HTTP requests with models: predict, encode, search, rerank, embeddings, and a page to try them."""
    chosen = ServerOptions(
        host=host,
        port=port,
        precision=precision,
        depth=options.depth_asked(depth),
        batch_tokens=batch_tokens,
        batch_wait_ms=batch_wait_ms,
        max_wait=max_wait,
        max_queue=max_queue,
        timeout=timeout,
        max_body=max_body,
        max_stream=max_stream,
        max_held=max_held,
        max_texts=max_texts,
        max_characters=max_characters,
        max_requests=max_requests,
        max_streams=max_streams,
        header_timeout=header_timeout,
        body_timeout=body_timeout,
        write_timeout=write_timeout,
        grace=grace,
        requests_per_minute=requests_per_minute,
        api_keys=api_keys,
        admin_keys=admin_keys,
        metrics_key=metrics_key,
        allow_hosts=tuple(allow_hosts or ()),
        cors=tuple(cors or ()),
        proxies=tuple(proxies or ()),
        log_texts=log_texts,
    )
    if sys.stderr.isatty():
        say('the log is JSON, a line a request; the line with "ready" has the address. Ctrl-C stops')
    # By its public name, so that what the extra brings is imported by this verb alone.
    run = cast(Callable[..., None], albertine.serve)
    run(models or (), indexes=indexes or (), options=chosen)
