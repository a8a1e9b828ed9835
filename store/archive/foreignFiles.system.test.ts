import { defaultToolbox } from '../../test/support/toolbox.ts';
import { testForeignFiles } from './testing/foreignFiles.ts';

testForeignFiles(defaultToolbox());
