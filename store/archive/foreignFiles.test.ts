import { testForeignFiles } from './testing/foreignFiles.ts';

testForeignFiles(undefined);
