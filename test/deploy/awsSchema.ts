/**
 * Checks values against what AWS publishes of its resources' properties: names, types, what is required. Enumerations and
 * patterns are not part of that, so a wrong word in the right place passes.
 */
import awsServiceSpec from '@aws-cdk/aws-service-spec';

const database = awsServiceSpec.loadAwsServiceSpecSync();
type Resource = ReturnType<typeof find>;
type Properties = Resource['properties'];
type PropertyType = Properties[string]['type'];

/** Every mistake in `properties` of a resource such as `AWS::EC2::LaunchTemplate`, as `path: what is wrong`. */
export function mistakesIn(resourceType: string, properties: unknown): string[] {
  return [...inObject(find(resourceType).properties, properties, resourceType)];
}

/** What `Fn::GetAtt` can ask of such a resource. */
export function attributesOf(resourceType: string): string[] {
  return Object.keys(find(resourceType).attributes);
}

function find(resourceType: string) {
  return database.lookup('resource', 'cloudFormationType', 'equals', resourceType).only();
}

function* inObject(properties: Properties, value: unknown, path: string): Generator<string> {
  if (!isObject(value)) return yield `${path}: not an object`;
  for (const [name, property] of Object.entries(properties)) {
    if (property.required && !(name in value)) yield `${path}.${name}: missing`;
  }
  for (const [name, inner] of Object.entries(value)) {
    const property = properties[name];
    if (property) yield* inValue(property.type, inner, `${path}.${name}`);
    else yield `${path}.${name}: no such property`;
  }
}

function* inValue(type: PropertyType, value: unknown, path: string): Generator<string> {
  if (isFunction(value)) return; // known only when the stack is made
  switch (type.type) {
    case 'string':
    case 'date-time':
      if (!['string', 'number', 'boolean'].includes(typeof value)) yield `${path}: not text`;
      return;
    case 'integer':
    case 'number':
      if (value === '' || Array.isArray(value) || Number.isNaN(Number(value))) yield `${path}: not a number`;
      return;
    case 'boolean':
      if (!['true', 'false'].includes(String(value))) yield `${path}: neither true nor false`;
      return;
    case 'array':
      if (!Array.isArray(value)) return yield `${path}: not a list`;
      for (const [index, entry] of value.entries()) yield* inValue(type.element, entry, `${path}[${index}]`);
      return;
    case 'map':
      if (!isObject(value)) return yield `${path}: not a map`;
      for (const [name, entry] of Object.entries(value)) yield* inValue(type.element, entry, `${path}.${name}`);
      return;
    case 'ref':
      yield* inObject(database.get('typeDefinition', type.reference.$ref).properties, value, path);
      return;
    case 'union': {
      const mistakes = type.types.map((each) => [...inValue(each, value, path)]);
      if (mistakes.every((each) => each.length > 0)) yield* mistakes[0] ?? [];
      return;
    }
    case 'tag':
      if (!isObject(value) || !('Key' in value && 'Value' in value)) yield `${path}: not a tag`;
      return;
    case 'json':
    case 'null':
      return;
  }
}

/** `{ Ref: … }` or `{ 'Fn::Sub': … }`. */
export function isFunction(value: unknown): value is Record<string, unknown> {
  const names = isObject(value) ? Object.keys(value) : [];
  return names.length === 1 && /^(Ref|Fn::\w+)$/.test(names[0] ?? '');
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
