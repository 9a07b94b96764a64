// Loaded by suite.js: top-level await, a cycle through other.mjs, import.meta.
import { setTimeout as sleep } from 'node:timers/promises';
import { half } from './other.mjs';
await sleep(1);
export const answer = half() * 2;
export const url = import.meta.url;
export default function () { return 'default'; }
export const seed = () => 21;
