// The other half of a cycle of modules.
import { seed } from './module.mjs';
let value;
export const half = () => value ?? (value = 21);
export const later = () => seed();
