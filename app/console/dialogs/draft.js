// What stands in a settings panel: the options and settings to choose from, and what saving would send of them.

import { make, part, redraw, setText } from '../drawing/dom.js';
import * as store from '../live/store.js';
import { changedSettings, optionGroup, settingInput } from './fields.js';

export function drawOptions(panel, connection, chosen) {
  const { dialog, type } = panel;
  const stored = panel.filled.config;
  const options = Object.entries(connection.latest_options ?? {});
  const without = nothingToChoose(type, connection);
  redraw(part(dialog, 'options'), [options, chosen, stored, without], () => (options.length
    ? options.map(([key, values]) => optionGroup(key, values, chosen[key], stored[key]))
    : [make('p', { class: 'muted' }, without)]));
  setText(part(dialog, 'choose'), options.length ? '2. Choose what to sync' : '2. Settings');
  const offered = new Set(options.map(([key]) => key));
  const others = type.config_fields.filter(({ name }) => !offered.has(name) && (name !== type.options_key || chosen[name]));
  redraw(part(dialog, 'config'), [others, chosen, stored], () => others.map((field) => settingInput(field, chosen[field.name], stored[field.name])));
}

function nothingToChoose(type, { last_verification_at: at, last_verification_error: error }) {
  if (!type.options_key) return 'There is nothing to choose for this source.';
  return at && !error ? 'The source offered nothing to choose from: the external service decides what it reads.'
    : 'What can be chosen appears here once the credentials are verified.';
}

// The configuration as it would be after saving, and whether that is another one.
export function configOf(panel) {
  const { config } = panel.filled;
  const changed = changedSettings(panel.dialog);
  if (!Object.keys(changed).length) return config;
  const left = Object.entries({ ...store.get(panel.id).config, ...changed }).filter(([, value]) => value !== '');
  return Object.fromEntries(left);
}

// Only what was touched: what this page cannot show or write as it came, it does not write.
export function fieldsOf(panel) {
  const { dialog, filled } = panel;
  const name = part(dialog, 'name-input').value.trim();
  const description = part(dialog, 'description-input').value.trim();
  const config = configOf(panel);
  const enable = !part(dialog, 'enable').hidden && part(dialog, 'enabled-input').checked;
  return {
    ...(name !== filled.name && { name }),
    ...(description !== (filled.description ?? '') && { description }),
    ...(config !== filled.config && { config }),
    ...(enable && { enabled: true }),
  };
}
