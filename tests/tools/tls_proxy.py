#!/usr/bin/env python3
"""A server for tests that ends TLS and passes the bytes to a plain port. It uses Python's standard library only.

    tls_proxy.py --cert PEM --key PEM --to HOST:PORT [--client-ca PEM] [--version 1.1|1.2|1.3]

With --client-ca, the server requires a client certificate of this authority. With --version, the server supports only
this version of TLS. The program prints its port, then serves on the loopback.
"""
import argparse
import asyncio
import ssl
import warnings

VERSIONS = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(options):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if options.version == "1.1":
        warnings.simplefilter("ignore", DeprecationWarning)
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
    made.load_cert_chain(options.cert, options.key)
    if options.client_ca:
        made.verify_mode = ssl.CERT_REQUIRED
        made.load_verify_locations(options.client_ca)
    if options.version:
        made.minimum_version = made.maximum_version = VERSIONS[options.version]
    return made


async def pump(source, sink):
    try:
        while data := await source.read(1 << 16):
            sink.write(data)
            await sink.drain()
    except OSError:
        pass
    finally:
        sink.close()


async def main():
    parser = argparse.ArgumentParser()
    for option in ("--cert", "--key", "--to"):
        parser.add_argument(option, required=True)
    parser.add_argument("--client-ca")
    parser.add_argument("--version", choices=sorted(VERSIONS))
    options = parser.parse_args()
    host, port = options.to.rsplit(":", 1)

    async def serve(reader, writer):
        try:
            behind_reader, behind_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        await asyncio.gather(pump(reader, behind_writer), pump(behind_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context(options))
    # A refused client is a part of the tests and no error.
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
