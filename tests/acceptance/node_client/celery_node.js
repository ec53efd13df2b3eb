// node celery_node.js BROKER_URL REQUEST_ID STATUS ORG GROUP
// Enqueues one event with celery-node, and nothing of ours.
const celery = require("celery-node");

const [broker, request_id, status, org, group] = process.argv.slice(2);
const client = celery.createClient(broker, broker, "feedback");

client.createTask("feedback.deliver").applyAsync([], { request_id, status, org, group });
// Redis takes commands in their order, so the message is in the list before the connection is left.
client.isReady().then(() => client.disconnect());
