// The least that an invoker of OpenWhisk does: reads a topic, and answers each message at once with the acknowledgement that it would
// have, without running anything.
//
//     NODE_PATH=.../node_modules node consumer.js HOST:PORT TOPIC MILLISECONDS
'use strict';

const { Kafka, logLevel } = require('kafkajs');

const [broker, topic, wait] = process.argv.slice(2);
const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.ERROR });

async function main() {
  const producer = kafka.producer({ allowAutoTopicCreation: false });
  const consumer = kafka.consumer({ groupId: topic, maxWaitTimeInMs: Number(wait) });
  await producer.connect();
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  await consumer.run({
    eachMessage: async ({ message }) => {
      const asked = JSON.parse(message.value);
      const { transid, activationId } = asked;
      const result = { greeting: 'hello ' + asked.content.name };
      const response = { activationId, response: { statusCode: 0, result } };
      const instance = { instance: 1, instanceType: 'invoker' };
      const value = JSON.stringify({ transid, response, isSystemError: false, instance });
      await producer.send({ topic: `completed${asked.rootControllerIndex.asString}`, acks: 1, messages: [{ value }] });
    },
  });
  console.log('reads');
}

main();
process.stdin.on('end', () => process.exit()).resume();
