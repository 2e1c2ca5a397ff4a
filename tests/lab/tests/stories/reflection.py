"""Makes the README's calls through reflection: lists services, finds providers, starts and watches a fetch.

usage: reflection.py CONTENT_ID
"""

import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

DEADLINE = 30


class Server:
    """A gRPC server that is known by its reflection only."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def services(self):
        return sorted(self.database.get_services())

    def call(self, service, name, request):
        method = self.pool.FindServiceByName(service).FindMethodByName(name)
        ask, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        path = f"/{service}/{name}"
        make = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        stub = make(path, request_serializer=ask.SerializeToString, response_deserializer=answer.FromString)
        answers = stub(json_format.ParseDict(request, ask()), timeout=DEADLINE)
        if not method.server_streaming:
            answers = [answers]
        for message in answers:
            yield json_format.MessageToDict(message)


def main():
    content = sys.argv[1]
    discovery, store, fetcher = (Server(f"172.28.9.12:{port}") for port in (7401, 7402, 7403))

    for server, service in (
        (discovery, "zeroshare.discovery.v1.DiscoveryService"),
        (store, "zeroshare.store.v1.LocalStoreService"),
        (fetcher, "zeroshare.fetcher.v1.FetcherService"),
    ):
        services = server.services()
        print(services)
        assert service in services, services
        assert "grpc.health.v1.Health" in services, services
        (health,) = server.call("grpc.health.v1.Health", "Check", {"service": service})
        assert health == {"status": "SERVING"}, health

    providers = list(
        discovery.call(
            "zeroshare.discovery.v1.DiscoveryService", "FindProviders", {"contentIds": [content], "wait": "3s"}
        )
    )
    print(providers)
    assert any(found["contentId"] == content for found in providers), providers

    (started,) = fetcher.call("zeroshare.fetcher.v1.FetcherService", "StartFetch", {"contentIds": [content]})
    print(started)
    steps = list(fetcher.call("zeroshare.fetcher.v1.FetcherService", "WatchFetch", {"contentId": content}))
    print(steps[-1])
    assert steps[-1]["fetch"]["state"] == "FETCH_STATE_SUCCEEDED", steps[-1]

    try:
        list(fetcher.call("zeroshare.fetcher.v1.FetcherService", "StartFetch", {"contentIds": ["nonsense"]}))
    except grpc.RpcError as error:
        print(error.code(), error.details())
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    else:
        raise AssertionError("a malformed id was accepted")


main()
