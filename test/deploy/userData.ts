/** docs/deploy/ec2/floe.yaml: the template, and the user data in it as an instance gets it. */
import { parse } from 'yaml';
import { z } from 'zod';
import { readDeployFile } from './files.ts';

const anything = z.record(z.string(), z.unknown());
const Template = z.object({
  Parameters: anything,
  Resources: z.record(z.string(), z.object({ Type: z.string(), Properties: anything })),
});
/** The short forms of CloudFormation's functions, as the long ones. */
const customTags = ['Ref', 'Sub', 'GetAtt'].map((name) => ({
  tag: `!${name}`,
  resolve: (text: string) => ({ [name === 'Ref' ? name : `Fn::${name}`]: text }),
}));

export const template = Template.parse(parse(readDeployFile('ec2/floe.yaml'), { customTags }));

export const launchTemplateData = anything.parse(template.Resources.LaunchTemplate?.Properties.LaunchTemplateData);

const UserData = z.object({ 'Fn::Base64': z.object({ 'Fn::Sub': z.string() }) });

/** With something in place of each parameter. */
export const userData = UserData.parse(launchTemplateData.UserData)['Fn::Base64']['Fn::Sub'].replaceAll(
  /\$\{([^}!]+)\}/g,
  (_, name: string) => name.replaceAll('::', '-'),
);

/** What the user data writes into a file. */
export function writtenByUserData(path: string): string {
  const content = userData.split(`cat > ${path} <<'END'\n`)[1]?.split('\nEND\n')[0];
  if (content === undefined) throw new Error(`The user data does not write ${path}.`);
  return `${content}\n`;
}

/** Name and content of each systemd unit that the user data writes. */
export function unitsOfUserData(): [name: string, content: string][] {
  const paths = [...userData.matchAll(/^cat > (\/etc\/systemd\/system\/(\S+)) /gm)];
  return paths.map(([, path = '', name = '']) => [name, writtenByUserData(path)]);
}
