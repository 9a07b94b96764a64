// Reads topics and prints each message as a line of JSON; sends each line of its input to `invoker0`.
//
//     NODE_PATH=.../node_modules node eyes.js HOST:PORT TOPIC...
'use strict';

const readline = require('readline');
const { Kafka, logLevel } = require('kafkajs');

const [broker, ...topics] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR });

async function main() {
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  const consumer = kafka.consumer({ groupId: 'eyes', maxWaitTimeInMs: 50 });
  await Promise.all([producer.connect(), consumer.connect()]);
  await consumer.subscribe({ topics, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ topic, message }) => {
      console.log(JSON.stringify({ topic, value: JSON.parse(message.value) }));
    },
  });
  for await (const value of readline.createInterface({ input: process.stdin })) {
    await producer.send({ topic: 'invoker0', acks: 1, messages: [{ value }] });
  }
  process.exit();
}

main();
