export { createNumbers } from './numbers.ts';
