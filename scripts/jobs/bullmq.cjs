// A thousand jobs through BullMQ: plain, delayed, with priorities, tried again, and a flow whose parent waits for its
// children. Called by run.py with port, count and seconds; ends with 1 and says why if a result is not right.
"use strict";

const { FlowProducer, Queue, QueueEvents, Worker } = require("bullmq");

const [port, count, seconds] = process.argv.slice(2).map(Number);
const connection = { host: "127.0.0.1", port, db: 4, maxRetriesPerRequest: null };

function check(right, what) {
  if (!right) {
    throw new Error(what);
  }
}

async function main() {
  const queue = new Queue("jobs", { connection });
  const events = new QueueEvents("jobs", { connection });
  await events.waitUntilReady();

  const attempts = new Map();
  const finished = [];
  let wake;
  const done = new Promise((resolve) => (wake = resolve));
  const worker = new Worker(
    "jobs",
    async (job) => {
      attempts.set(job.id, (attempts.get(job.id) || 0) + 1);
      if (job.name === "parent") {
        const parts = Object.values(await job.getChildrenValues());
        return parts.reduce((sum, part) => sum + part, 0);
      }
      if (job.data.number % 100 === 7 && attempts.get(job.id) === 1) {
        throw new Error("the first attempt");
      }
      return 2 * job.data.number;
    },
    { connection, concurrency: 20, autorun: false },
  );
  worker.on("completed", (job) => {
    finished.push(job.id);
    if (finished.length === count) {
      wake();
    }
  });

  const jobs = Array.from({ length: count }, (_, number) => ({
    name: "double",
    data: { number },
    opts: {
      attempts: 3,
      delay: number % 10 === 1 ? 200 : 0,
      priority: number % 10 === 2 ? 5 : undefined,
    },
  }));
  const added = await queue.addBulk(jobs);
  const counts = await queue.getJobCounts();
  const waiting = counts.waiting + counts.delayed + counts.prioritized;
  check(waiting === count, `${waiting} of ${count} wait: ${JSON.stringify(counts)}`);
  worker.run();
  const late = new Promise((_, reject) =>
    setTimeout(() => reject(new Error(`${finished.length} of ${count} done in ${seconds} s`)), seconds * 1000).unref(),
  );
  await Promise.race([done, late]);

  check(new Set(finished).size === count, "a job was done twice");
  for (const [number, { id }] of added.entries()) {
    const job = await queue.getJob(id);
    check(job.returnvalue === 2 * number, `job ${id} answered ${job.returnvalue}`);
    const expected = number % 100 === 7 ? 2 : 1;
    check(attempts.get(id) === expected, `job ${id} took ${attempts.get(id)} attempts`);
  }
  const after = await queue.getJobCounts();
  check(after.completed === count && after.failed === 0, `at the end: ${JSON.stringify(after)}`);

  // A parent runs once all of its children have.
  const flow = new FlowProducer({ connection });
  const tree = await flow.add({
    name: "parent",
    queueName: "jobs",
    children: [1, 2, 3].map((number) => ({ name: "child", queueName: "jobs", data: { number } })),
  });
  const sum = await tree.job.waitUntilFinished(events, 30000);
  check(sum === 12, `the flow answered ${sum}`);

  await worker.close();
  await flow.close();
  await events.close();
  await queue.obliterate({ force: true });
  await queue.close();
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
