// node celery_ts.js BROKER_URL REQUEST_ID STATUS ORG GROUP
// Enqueues one event with celery-ts, and nothing of ours.
const celery = require("celery-ts");

const [brokerUrl, request_id, status, org, group] = process.argv.slice(2);
// It asks for a result that there is none of: without a backend, it tells so.
process.on("unhandledRejection", (error) => {
  if (!/null backend/.test(error.message)) throw error;
});
const client = celery.createClient({ brokerUrl });

client.createTask("feedback.deliver").applyAsync({ args: [], kwargs: { request_id, status, org, group }, queue: "feedback" });
client.end().then(() => process.exit(0));
