"""The official Python SDK, unmodified, against the simulator: log in, make a channel, subscribe,
receive, rotate the secret, revoke the token. The environment variable SIM holds the simulator's
ready line. Any surprise ends the program with a status other than 0."""

import json
import os
import urllib.parse
import urllib.request

import PureCloudPlatformClientV2 as platform
from PureCloudPlatformClientV2.rest import ApiException
import websocket

SIM = json.loads(os.environ["SIM"])
ADDRESS = urllib.parse.urlsplit(SIM["api_url"])


def control(name, body):
    """A control call of the simulator."""
    request = urllib.request.Request(
        f"{SIM['control_url']}/sim/{name}",
        data=json.dumps(body).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def failure(call, *arguments, **named):
    """The status of the error a call of the SDK fails with."""
    try:
        call(*arguments, **named)
    except ApiException as error:
        return error.status
    raise AssertionError("the call did not fail")


def client():
    """A client that goes through the gateway setting."""
    api = platform.api_client.ApiClient()
    api.set_gateway(ADDRESS.hostname, ADDRESS.scheme, ADDRESS.port, "", "")
    return api


def hear(socket):
    return json.loads(socket.recv())


def main():
    api = client()
    assert failure(api.get_client_credentials_token, SIM["client_id"], "wrong") == 401
    assert failure(api.get_client_credentials_token, "nobody", "wrong") == 400
    api.get_client_credentials_token(SIM["client_id"], SIM["client_secret"])

    routing = platform.RoutingApi(api)
    queues = routing.get_routing_queues(page_size=100)
    assert [queue.id for queue in queues.entities] == [queue["id"] for queue in SIM["queues"]]
    assert routing.get_routing_queue_members(SIM["queues"][0]["id"]).entities

    notifications = platform.NotificationsApi(api)
    assert len(notifications.get_notifications_availabletopics().entities) > 40
    channel = notifications.post_notifications_channels()
    topic = f"v2.routing.queues.{SIM['queues'][0]['id']}.users"
    unknown = "v2.routing.queues.none.users"
    subscribe = notifications.put_notifications_channel_subscriptions
    assert failure(subscribe, channel.id, [{"id": unknown}]) == 404
    answer = subscribe(channel.id, [{"id": topic}, {"id": unknown}], ignore_errors=True)
    assert [entity.state for entity in answer.entities] == ["Permitted", "Rejected"]
    listed = notifications.get_notifications_channel_subscriptions(channel.id)
    subscribe(channel.id, listed.entities)
    notifications.head_notifications_channel(channel.id)

    analytics = platform.AnalyticsApi(api)
    query = platform.QueueObservationQuery()
    query.filter = {"type": "or", "predicates": [{"dimension": "queueId", "value": topic.split(".")[3]}]}
    query.metrics = ["oWaiting", "oUserRoutingStatuses"]
    observed = analytics.post_analytics_queues_observations_query(query)
    assert observed.results[0].data[0].metric == "oUserRoutingStatuses"

    socket = websocket.create_connection(channel.connect_uri, timeout=10)
    socket.send(json.dumps({"message": "ping"}))
    assert hear(socket)["eventBody"]["message"] == "pong"
    control("emit", {"topic": topic, "body": {"joined": True}})
    frame = hear(socket)
    assert (frame["topicName"], frame["eventBody"]) == (topic, {"joined": True})

    rotated = platform.OAuthApi(api).post_oauth_client_secret(SIM["client_id"])
    assert rotated.secret != SIM["client_secret"]
    old = SIM["client_secret"]
    assert failure(client().get_client_credentials_token, SIM["client_id"], old) == 401
    control("emit", {"topic": topic, "body": {"joined": False}})
    assert hear(socket)["eventBody"] == {"joined": False}

    platform.TokensApi(api).delete_tokens_me()
    assert hear(socket)["topicName"] == f"v2.system.token_revoked.{channel.id}"
    assert failure(notifications.get_notifications_channels) == 401
    api.get_client_credentials_token(SIM["client_id"], rotated.secret)
    notifications.head_notifications_channel(channel.id)


if __name__ == "__main__":
    main()
