/** A store of which some methods do something else: how tests make one fail at a known moment. */
import type { Store } from '../store.ts';

export function alteredStore(store: Store, changes: Partial<Store>): Store {
  return new Proxy(store, {
    get(target, name) {
      const value: unknown = Reflect.get(name in changes ? changes : target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
