import { describe, expect, it } from 'vitest';
import { html } from './html.ts';

describe('html', () => {
  it('escapes every value, in text and in attributes', () => {
    const hostile = `"><script>alert('x')</script>&`;
    expect(html`<a title="${hostile}">${hostile}</a>`.text).toBe(
      `<a title="&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;">&quot;&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;</a>`,
    );
  });

  it('keeps nested templates and joins lists', () => {
    expect(html`<ul>${['<', 2].map((item) => html`<li>${item}</li>`)}</ul>`.text).toBe(
      '<ul><li>&lt;</li><li>2</li></ul>',
    );
  });

  it('shows nothing for null, undefined and false, but shows 0', () => {
    expect(html`${null}${undefined}${false}${0}`.text).toBe('0');
  });

  it('does not take an object that looks like HTML for it', () => {
    const forged: unknown = JSON.parse('{"text":"<b>"}');
    expect(() => html`${forged as string}`.text).toThrow();
  });
});
