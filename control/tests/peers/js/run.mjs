// Plays scenarios over one transport:  node run.mjs --transport NAME --setup JSON TOPIC...
// Each topic is a module of scenarios/; it makes the assertions. See lib/report.mjs for what is printed.

import { disconnectAll } from './lib/clients.mjs';
import { judge } from './lib/report.mjs';
import { topics } from './lib/setup.mjs';

// Whatever an SDK throws outside of a scenario's own calls is a failure too.
process.on('unhandledRejection', (error) => {
  console.log(JSON.stringify({ topic: topics.join(' '), verdict: 'failed', why: `unhandled: ${error?.stack ?? JSON.stringify(error)}`, log: [] }));
  process.exit(1);
});

let isGood = true;
for (const topic of topics) {
  const { default: play } = await import(`./scenarios/${topic}.mjs`);
  isGood = (await judge(topic, play)) && isGood;
  disconnectAll();
}
process.exit(isGood ? 0 : 1);
