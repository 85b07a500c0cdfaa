// The faults that the stand-in external service can be told to rehearse: devstack/scenarios.yaml, which a test compares.

import { optionGroup } from './fields.js';

const FAULTS = [
  '400', '500', '429', 'flaky', 'hang', 'fail', 'fail_sync', 'no_options', 'empty', 'huge', 'long', 'legacy', 'no_operation_id',
  'other_tenant', 'nonsense', 'out_of_order', 'duplicate', 'slow', 'late', 'stall', 'silence',
];

// A list to tick; its setting is the words, parted by commas.
export function faultsOf(chosen) {
  const group = optionGroup('simulate', FAULTS, chosen, chosen, { asText: true, none: 'None: it behaves.' });
  group.querySelector('legend').textContent = 'Faults';
  return group;
}

export const rehearsed = (root) => [...root.querySelectorAll('[data-option="simulate"] .boxes :checked')].map(({ value }) => value).join(',');
