// Copies the client into src/rita, as a frontend does once.

import { cpSync } from 'node:fs';

for (const name of ['rita.ts', 'schema.ts', 'tabs.ts', 'react.ts']) cpSync(`../${name}`, `src/rita/${name}`);
