// node node_celery.js BROKER_URL REQUEST_ID STATUS ORG GROUP
// Enqueues one event with node-celery, and nothing of ours: its messages are of Celery's protocol 1.
const celery = require("node-celery");

const [broker, request_id, status, org, group] = process.argv.slice(2);
const routes = { "feedback.deliver": { queue: "feedback" } };
const client = celery.createClient({ CELERY_BROKER_URL: broker, CELERY_RESULT_BACKEND: broker, CELERY_ROUTES: routes });

client.once("connect", () => {
  client.call("feedback.deliver", [], { request_id, status, org, group }, {});
  // Redis takes commands in their order: once it has answered, the message is in the list.
  client.broker.redis.ping(() => process.exit(0));
});
