// The official JavaScript SDK, unmodified, against the simulator: log in, make a channel, subscribe,
// receive, rotate the secret, revoke the token. The environment variable SIM holds the simulator's
// ready line. Any surprise ends the program with a status other than 0.
"use strict";

const assert = require("node:assert/strict");
const platform = require("purecloud-platform-client-v2");
const WebSocket = require("ws");

const sim = JSON.parse(process.env.SIM);
const address = new URL(sim.api_url);

/** A control call of the simulator. */
async function control(name, body) {
  const reply = await fetch(`${sim.control_url}/sim/${name}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  assert.equal(reply.status, 200, name);
  return reply.json();
}

/** A socket whose frames can be awaited one by one. */
class Listener {
  constructor(uri) {
    this.frames = [];
    this.waiting = [];
    this.socket = new WebSocket(uri);
    this.socket.on("message", (text) => this.push(JSON.parse(text)));
    this.socket.on("close", (code) => this.push({ closed: code }));
    this.socket.on("error", (error) => this.push({ error: error.message }));
    this.opened = new Promise((resolve, reject) => {
      this.socket.on("open", resolve);
      this.socket.on("error", reject);
    });
  }

  push(frame) {
    const next = this.waiting.shift();
    if (next) next(frame);
    else this.frames.push(frame);
  }

  next() {
    if (this.frames.length > 0) return Promise.resolve(this.frames.shift());
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}

/** The status of the error a call of the SDK fails with. */
async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error.status ?? error.response?.status;
  }
  return assert.fail("the call did not fail");
}

async function main() {
  const client = platform.ApiClient.instance;
  client.setGateway({
    host: address.hostname,
    protocol: address.protocol.replace(":", ""),
    port: Number(address.port),
  });
  assert.equal(await failure(client.loginClientCredentialsGrant(sim.client_id, "wrong")), 401);
  assert.equal(await failure(client.loginClientCredentialsGrant("nobody", "wrong")), 400);
  const login = await client.loginClientCredentialsGrant(sim.client_id, sim.client_secret);
  assert.ok(login.accessToken);

  const routing = new platform.RoutingApi();
  const queues = await routing.getRoutingQueues({ pageSize: 100 });
  assert.deepEqual(queues.entities.map((queue) => queue.id), sim.queues.map((queue) => queue.id));
  const members = await routing.getRoutingQueueMembers(sim.queues[0].id, {});
  assert.ok(members.entities.length > 0);

  const notifications = new platform.NotificationsApi();
  const topics = await notifications.getNotificationsAvailabletopics({ expand: ["description"] });
  assert.ok(topics.entities.length > 40);
  const channel = await notifications.postNotificationsChannels();
  assert.ok(new Date(channel.expires) > new Date());
  const topic = `v2.routing.queues.${sim.queues[0].id}.users`;
  const unknown = "v2.routing.queues.none.users";
  const refused = notifications.putNotificationsChannelSubscriptions(channel.id, [{ id: unknown }]);
  assert.equal(await failure(refused), 404);
  const subscribed = await notifications.putNotificationsChannelSubscriptions(
    channel.id,
    [{ id: topic }, { id: unknown }],
    { ignoreErrors: true },
  );
  assert.deepEqual(subscribed.entities.map((entity) => entity.state), ["Permitted", "Rejected"]);
  const listed = await notifications.getNotificationsChannelSubscriptions(channel.id);
  await notifications.putNotificationsChannelSubscriptions(channel.id, listed.entities);
  await notifications.headNotificationsChannel(channel.id);

  const listener = new Listener(channel.connectUri);
  await listener.opened;
  listener.socket.send(JSON.stringify({ message: "ping" }));
  assert.equal((await listener.next()).eventBody.message, "pong");
  await control("emit", { topic, body: { joined: true } });
  const frame = await listener.next();
  assert.deepEqual([frame.topicName, frame.eventBody], [topic, { joined: true }]);

  const oauth = new platform.OAuthApi();
  const rotated = await oauth.postOauthClientSecret(sim.client_id);
  assert.notEqual(rotated.secret, sim.client_secret);
  assert.equal(
    await failure(client.loginClientCredentialsGrant(sim.client_id, sim.client_secret)),
    401,
  );
  await control("emit", { topic, body: { joined: false } });
  assert.deepEqual((await listener.next()).eventBody, { joined: false });

  await new platform.TokensApi().deleteTokensMe();
  assert.equal((await listener.next()).topicName, `v2.system.token_revoked.${channel.id}`);
  assert.ok((await listener.next()).closed);
  assert.equal(await failure(notifications.getNotificationsChannels()), 401);
  await client.loginClientCredentialsGrant(sim.client_id, rotated.secret);
  await notifications.headNotificationsChannel(channel.id);
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
